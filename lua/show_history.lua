-- An edge shows a member what was said in the room: the last messages, those since a time, or what a catch-up or an answer
-- has left out; from its joining on or all, as the room's owners want it. The member has asked for it (request_history), and
-- the edge does it with the id of the event catch_up, which ends here. If the sender is no member any more, nothing is
-- shown.
--
-- KEYS:
--   events   imc:{S}:out           stream
--   room     imc_rooms:{S}:ROOM    hash
--   members  imc_members:{S}:ROOM  hash
--   history  imc_history:{S}:ROOM  stream
--
-- ARGV:
--   entry_id       id of the event catch_up in events
--   max_shown      messages, at most: the first ones, except if the sender asks for a number
--   default_shown  messages, if the sender names no number and no time
--   max_age_ms     nothing older is shown; 0: no limit
--
-- Returns:
--   (number)  how many messages were shown
--   gone      the event was handled before: nothing changed
--
-- Events:
--   message        to the sender; catch_up: replay
--   more_said      to the sender, behind them: there are more, which it can ask for
--   nothing_said   to the sender: there are no such messages
local events, room, members, history = unpack(KEYS)
local entry_id, max_shown, default_shown, max_age_ms = unpack(ARGV)
local delivery_chunk, request = 1, nil
--- @include "emit"
--- @include "role"
--- @include "missed"
--- @include "device"
--- @include "unseen"
--- @include "now"
--- @include "work_item"

redis.call("XLEN", history) -- is a stream
max_shown, max_age_ms = tonumber(max_shown), tonumber(max_age_ms)
default_shown = assert(tonumber(default_shown), "default_shown")

-- "20", "7200s" back, "@MS" since the epoch, or "more" (imc_common/rooms/spans.py)
local text, sender, address = item.text or "", item.from or "", item.room or ""
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
local recipient = device_in(devices_of(address), without_aor(item.to or "")) or sender
local is_there = is_member(role_of(value))
local ranges, with_own = {}, true
if not is_there then
    text = "" -- it has left since it asked
elseif text == "more" then
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
redis.call("XDEL", events, entry_id)
for _, message in ipairs(found) do
    send_missed(message, address, recipient, value, "catch_up", "replay")
end
request = { room = address, from = sender, data = item.data }
local client = is_device(recipient) and { "client", "device" } or {}
if #left > 0 or text == "more" then
    keep_unseen(room, recipient, left, with_own)
end
if #found == 0 and is_there then
    emit("nothing_said", { recipient }, unpack(client))
elseif #left > 0 then
    emit("more_said", { recipient }, unpack(client))
end
return #found
