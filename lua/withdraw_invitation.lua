-- The report of an invitation that could not be delivered: if it is the user's newest invitation and not accepted or
-- declined, it is withdrawn and its inviter told. In the report, `from` is the invited user, `user` the inviter,
-- `of` the id of the event that failed, and `status` how.
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
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   invitation_failed  to the inviter; user: the invited one, reason: no_response (status 408) or delivery_failed,
--                      detail: the SIP status
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "room"
--- @include "member_state"

local invitation = redis.call("HGET", room, "invitation:" .. request.from)
local is_pending = sender_role == "invited" and invitation == request.of
commit()
if is_pending then
    forget_member(request.from)
    local reason = request.status == "408" and "no_response" or "delivery_failed"
    emit("invitation_failed", { request.user }, "user", request.from, "reason", reason, "detail", request.status or "")
end
return "done"
