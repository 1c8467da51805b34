-- A plain message goes to every member but its sender, never to the invited. Only members may speak, and
-- operators, whose words are a notice. The hot path: it reads the room itself only for a refusal.
--
-- KEYS:
--   requests  imc:{S}:in            stream
--   events    imc:{S}:out           stream
--   rooms     imc_rooms:{S}         sorted set
--   room      imc_rooms:{S}:ROOM    hash
--   members   imc_members:{S}:ROOM  hash
--   caused    imc:{S}:caused:SENDER  string
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--   max_caused      deliveries after which a sender's next message has to wait, 0 none
--   window_ms       for how long they count
--   small           so many others are too few to be counted
--
-- Returns:
--   done   the request had its effect, which may be a refusal
--   gone   it had its effect before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   message  to all members but the sender
--   notice   the same, an operator's
--   refused  to the sender: unknown_room, not_member, too_many_deliveries (once until they count no more)
local requests, events, rooms, room, members, caused = unpack(KEYS)
local entry_id, delivery_chunk, max_caused, window_ms, small = unpack(ARGV)
--- @include "head"
--- @include "emit"
--- @include "recipients"

local others, n, speaks = recipients_of(members, request.from)
max_caused, window_ms = tonumber(max_caused), math.max(1, tonumber(window_ms))
local counts = max_caused > 0 and speaks and n > tonumber(small)
local so_far = counts and tonumber(redis.call("GET", caused) or 0) or 0
assert(so_far % 1 == 0, "deliveries are counted in whole numbers")
local told = so_far < 0 -- that it was too much
local over = told or (counts and so_far >= max_caused)

if over or not speaks and not (request.operator == "1" and n > 0) then
    --- @include "room"
    --- @include "refuse"
    if not over then
        return refuse(refusal("member"))
    elseif told then
        commit()
        return "done"
    end
    local done = refuse("too_many_deliveries")
    redis.call("SET", caused, -1, "KEEPTTL")
    return done
end

commit()
if counts and redis.call("INCRBY", caused, n) == n then
    redis.call("PEXPIRE", caused, window_ms)
end
if request.operator == "1" then
    emit("notice", others)
else
    emit("message", others)
end
return "done"
