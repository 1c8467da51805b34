-- A plain message goes to every member but its sender, never to the invited. Only members may speak, and
-- operators, whose messages are notices. This is the hot path: it reads the room only for a refusal, and the list
-- of members only for a sender who may speak, so that the time of a refusal does not tell how many members there
-- are.
--
-- KEYS:
--   requests  imc:{S}:in            stream
--   events    imc:{S}:out           stream
--   rooms     imc_rooms:{S}         sorted set
--   room      imc_rooms:{S}:ROOM    hash
--   members   imc_members:{S}:ROOM  hash
--
-- ARGV:
--   entry_id         the request's id in requests
--   delivery_chunk   recipients per event entry, at most
--   shows_nicknames  1: events carry the sender's nickname
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   message  to all members but the sender; nick: the sender's nickname, if there is one and it is shown
--   notice   the same, an operator's
--   refused  to the sender: unknown_room, not_member
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk, shows_nicknames = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "may_speak"
--- @include "other_members"

local others, n, speaks = {}, 0, may_speak(redis.call("HGET", members, request.from))
if speaks or request.operator == "1" then
    others, n = other_members(members, request.from)
end

if not speaks and n == 0 then
    --- @include "refuse"
    return refuse(refusal("member"))
end

assert(shows_nicknames == "0" or shows_nicknames == "1", "shows_nicknames")
local nick = shows_nicknames == "1" and redis.call("HGET", room, "nick:" .. request.from)
commit()
if request.operator == "1" then
    emit("notice", others)
elseif nick then
    emit("message", others, "nick", nick)
else
    emit("message", others)
end
return "done"
