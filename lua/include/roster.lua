-- What changes in a room is told to the devices that show it as a conference (RFC 4575). The field `rev` of the room's
-- hash counts the changes. The sorted set `roster` has the number of the last change of each user, also of those who are
-- gone, of devices that are gone, and of "*subject"; and "*came REV WHO" and "*left REV WHO" for each time that a user or a
-- device came or left. Rooms without devices have neither. Needs room, request and what emit needs. Gives devices,
-- has_devices, roster, record, record_arrival, record_departure, and what ask_for_notify gives.
--- @include "device"
--- @include "device_name"
--- @include "ask_for_notify"
local MAX_CHANGES = 1000
local devices = devices_of(request.room)
local roster = devices:gsub("^imc_devices", "imc_roster")
local has_devices = redis.call("HLEN", devices) > 0
redis.call("ZCARD", roster) -- is a sorted set

-- After commit. Adds an entry. The oldest changes are forgotten: who has not seen them gets the whole roster (notify).
local function keep_change(rev, what)
    redis.call("ZADD", roster, rev, what)
    if redis.call("ZCARD", roster) > MAX_CHANGES then
        redis.call("HSET", room, "forgotten", redis.call("ZPOPMIN", roster)[2])
    end
end

-- After commit. Notes a change of this user, device or "*subject".
local function record(who)
    if has_devices then
        keep_change(redis.call("HINCRBY", room, "rev", 1), who)
        ask_for_notify()
    end
end

-- After commit. Notes that a user or device comes or leaves, and what was known of it before has changed. Who has not seen it
-- come is not told that it has left (RFC 4575 §4.6: `deleted` removes what the subscriber knows).
local function record_move(how, who)
    record(who)
    local rev = has_devices and redis.call("HGET", room, "rev")
    if rev then
        keep_change(rev, "*" .. how .. " " .. rev .. " " .. who)
    end
end

local function record_arrival(who)
    record_move("came", who)
end

local function record_departure(who)
    record_move("left", who)
end
