-- The receipt of an invitation that could not be delivered: if it is still the user's newest one and not
-- answered, it is withdrawn and its inviter told. In the receipt, from is the invited, user the inviter, of
-- the id of the event that failed, status how.
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
--   invitation_failed  to the inviter; reason: no_answer (status 408), delivery_failed
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "head"
--- @include "emit"
--- @include "room"

local invitation = redis.call("HGET", room, "invitation:" .. request.from)
local stands = sender_role == "invited" and invitation == request.of
commit()
if stands then
    redis.call("HDEL", members, request.from)
    redis.call("HDEL", room, "invitation:" .. request.from)
    local reason = request.status == "408" and "no_answer" or "delivery_failed"
    emit("invitation_failed", { request.user }, "user", request.from, "reason", reason, "detail", request.status or "")
end
return "done"
