-- A plain message goes to every member but its sender, never to the invited. Only members may speak, and
-- operators, whose words are a notice. The hot path: it reads the room itself only for a refusal.
--
-- KEYS:
--   requests  imc:{S}:in            stream
--   events    imc:{S}:out           stream
--   rooms     imc_rooms:{S}         sorted set
--   room      imc_rooms:{S}:ROOM    hash
--   members   imc_members:{S}:ROOM  hash
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--
-- Returns:
--   done   the request had its effect, which may be a refusal
--   gone   it had its effect before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   message  to all members but the sender
--   notice   the same, an operator's
--   refused  to the sender: unknown_room, not_member
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "head"
--- @include "emit"

local all = redis.call("HGETALL", members)
local others, n, speaks = {}, 0, false
for i = 1, #all, 2 do
    if all[i + 1] == "invited" then -- hears nothing and says nothing
    elseif all[i] == request.from then
        speaks = true
    else
        n = n + 1
        others[n] = all[i]
    end
end

if not speaks and not (request.operator == "1" and n > 0) then
    --- @include "room"
    --- @include "refuse"
    return refuse(refusal("member"))
end

commit()
if request.operator == "1" then
    emit("notice", others)
else
    emit("message", others)
end
return "done"
