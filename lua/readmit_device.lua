-- The report of a BYE that a device has got, of an earlier stay of its user: it shows the room no longer. If its user is a
-- member again through another device, it is invited. If it does not know the session of this BYE (481), it may have accepted
-- another INVITE, whose report may come later. Then it goes on with its subscription. In the report, `from` is the device, and
-- `dialog` that of the BYE. If the BYE was a probe (`catch_up`), it has found the user.
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
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "role"
--- @include "roster"
--- @include "resume_subscription"
--- @include "invite"
--- @include "readmit"
--- @include "user_online"

redis.call("ZCARD", rooms) -- is a sorted set
redis.call("HLEN", room)
redis.call("HLEN", members)
local device = without_aor(request.from)
local is_needed = needs_invite(device)
local name = device_in(devices, device)
local goes_on = request.status == "481" and is_member(redis.call("HGET", members, user_of(device)))

commit()
if request.catch_up == "probe" then -- what the user has missed elsewhere follows
    report_online(user_of(device))
end
if goes_on and resume_subscription(name or device, request.dialog or "") and name then
    ask_for_notify()
end
if is_needed then
    send_invite(room, members, request.room, device, request.room)
end
return "done"
