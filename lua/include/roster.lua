-- What changes in a room is told to the devices that show it as a conference (RFC 4575). The field `rev` of the room's
-- hash counts the changes. The sorted set `roster` has the number of the last change of each user, also of those who are
-- gone, of devices that are gone, and of "*subject". Rooms without devices have neither. Needs room, request and what
-- emit needs. Gives devices, has_devices, roster, record, and what ask_for_notify gives.
--- @include "device"
--- @include "device_name"
--- @include "ask_for_notify"
local MAX_CHANGES = 1000
local devices = devices_of(request.room)
local roster = devices:gsub("^imc_devices", "imc_roster")
local has_devices = redis.call("HLEN", devices) > 0
redis.call("ZCARD", roster) -- is a sorted set

-- After commit. Notes a change of this user, device or "*subject". The oldest changes are forgotten: who has not seen
-- them gets the whole roster (notify).
local function record(who)
    if not has_devices then
        return
    end
    local rev = redis.call("HINCRBY", room, "rev", 1)
    redis.call("ZADD", roster, rev, who)
    if redis.call("ZCARD", roster) > MAX_CHANGES then
        redis.call("HSET", room, "forgotten", redis.call("ZPOPMIN", roster)[2])
    end
    ask_for_notify()
end
