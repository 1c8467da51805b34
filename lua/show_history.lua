-- A member is sent what was said in the room: the last messages, those since a time, or what a catch-up or an answer has
-- left out; from its joining on or all, as the room's owners want it.
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
--   max_shown       messages, at most: the first ones, except if the sender asks for a number
--   default_shown   messages, if the sender names no number and no time
--   max_age_ms      nothing older is shown; 0: no limit
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   message        to the sender; catch_up: replay
--   more_said      to the sender, behind them: there are more, which it can ask for
--   nothing_said   to the sender: there are no such messages
--   refused        to the sender: unknown_room, not_member
local requests, events, rooms, room, members, history = unpack(KEYS)
local entry_id, delivery_chunk, max_shown, default_shown, max_age_ms = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "missed"
--- @include "device"
--- @include "unseen"
--- @include "now"

redis.call("XLEN", history) -- is a stream
max_shown, max_age_ms = tonumber(max_shown), tonumber(max_age_ms)
default_shown = assert(tonumber(default_shown), "default_shown")
local reason = refusal("member")
if reason then
    return refuse(reason)
end

-- "20", "7200s" back, "@MS" since the epoch, or "more" (imc_common/rooms/spans.py)
local text, sender, address = request.text or "", request.from, request.room
local seconds, since = text:match("^(%d+)s$"), text:match("^@(%d+)$")
local count = math.min(tonumber(text) or (text == "" and default_shown) or max_shown, max_shown)
local first_ms = since and tonumber(since) or seconds and now - seconds * 1000 or 0
first_ms = math.max(first_ms, max_age_ms > 0 and now - max_age_ms or 0)
local first = string.format("%d-0", first_ms)
local from, joined = unpack(redis.call("HMGET", room, "history_from", "joined:" .. sender))
if joined and from ~= "all" and is_before(first, joined) then
    first = joined
end

local value = redis.call("HGET", members, sender) or ""
local recipient = device_in(devices_of(address), request.device) or sender
local ranges, with_own = {}, true
if text == "more" then
    ranges, with_own = unseen(room, recipient)
elseif seconds or since then
    local last = redis.call("XREVRANGE", history, "+", first, "COUNT", 1)[1]
    ranges[1] = last and { first, behind(last[1]) }
else
    local latest = redis.call("XREVRANGE", history, "+", first, "COUNT", count)
    ranges[1] = #latest > 0 and { latest[#latest][1], behind(latest[1][1]) } or nil
end

-- What is shown of each range, and what is left of it.
local found, left = {}, {}
for _, range in ipairs(ranges) do
    local from = is_before(range[1], first) and first or range[1]
    local part, rest = missed(history, from, not with_own and recipient, count - #found, now, "(" .. range[2])
    for _, message in ipairs(part) do
        found[#found + 1] = message
    end
    left[#left + 1] = rest and { rest, range[2] }
end
commit()
local own_request = request
for _, message in ipairs(found) do
    send_missed(message, address, recipient, value, "catch_up", "replay")
end
request = own_request
if #left > 0 or text == "more" then
    keep_unseen(room, recipient, left, with_own)
end
if #found == 0 then
    emit("nothing_said", { sender })
elseif #left > 0 then
    emit("more_said", { sender })
end
return "done"
