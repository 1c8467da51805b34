-- A member is sent what was said in the room: the last messages, or those since a time, from its joining on or all, as
-- the room's owners want it.
--
-- KEYS:
--   requests  imc:{S}:in            stream
--   events    imc:{S}:out           stream
--   rooms     imc_rooms:{S}         sorted set
--   room      imc_rooms:{S}:ROOM    hash
--   members   imc_members:{S}:ROOM  hash
--   history   imc_history:{S}:ROOM  stream
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--   max_shown       messages, at most: the first ones since a time, so that the sender can ask for the next
--   max_age_ms      nothing older is shown; 0: no limit
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   message        to the sender; catch_up: replay
--   nothing_said   to the sender: there are no such messages
--   refused        to the sender: unknown_room, not_member
local requests, events, rooms, room, members, history = unpack(KEYS)
local entry_id, delivery_chunk, max_shown, max_age_ms = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "missed"
--- @include "device"
--- @include "positions"
--- @include "now"

local DEFAULT = 20 -- messages, if the sender names no number and no time
redis.call("XLEN", history) -- is a stream
max_shown, max_age_ms = tonumber(max_shown), tonumber(max_age_ms)
local reason = refusal("member")
if reason then
    return refuse(reason)
end

-- "20", "7200s" back, or "@MS" since the epoch (imc_common/rooms/spans.py)
local text = request.text or ""
local seconds, since = text:match("^(%d+)s$"), text:match("^@(%d+)$")
local count = math.min(tonumber(text) or (seconds or since) and max_shown or DEFAULT, max_shown)
local first_ms = since and tonumber(since) or seconds and now - seconds * 1000 or 0
first_ms = math.max(first_ms, max_age_ms > 0 and now - max_age_ms or 0)
local first = string.format("%d-0", first_ms)
local from, joined = unpack(redis.call("HMGET", room, "history_from", "joined:" .. request.from))
if joined and from ~= "all" and is_before(first, joined) then
    first = joined
end

local sender, address = request.from, request.room
local value = redis.call("HGET", members, sender) or ""
local recipient = device_in(devices_of(address), request.device) or sender
if not (seconds or since) then
    local latest = redis.call("XREVRANGE", history, "+", first, "COUNT", count)
    first = #latest > 0 and latest[#latest][1] or first
end
local found = missed(history, first, false, count, now)
commit()
for _, message in ipairs(found) do
    send_missed(message, address, recipient, value, "catch_up", "replay")
end
if #found == 0 then
    emit("nothing_said", { sender })
end
return "done"
