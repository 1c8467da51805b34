-- A message of a program that answers every message (imc_worker/automatic_answers.py) is delivered to nobody, and no
-- history keeps it. Only members get messages that they could answer: anybody else is refused, as in broadcast_message.
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
--   is_told         1: the sender is told; 0: it was told before
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   muted    to the sender
--   refused  to the sender: unknown_room, not_member
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk, is_told = unpack(ARGV)
--- @include "request"
--- @include "refuse"

assert(is_told == "0" or is_told == "1", "is_told")
local reason = refusal("member")
if reason then
    return refuse(reason)
end
commit()
if is_told == "1" then
    emit("muted", { request.from })
end
if is_away(redis.call("HGET", members, request.from)) then
    --- @include "call_back"
    call_back(room, request.room, request.from, true)
end
return "done"
