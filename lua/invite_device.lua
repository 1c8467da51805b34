-- A device that shows rooms as conferences has come, after its user became a member: it is asked to enter by INVITE. Until it
-- accepts, the member goes on as before. A device that is in the room is not asked: it would leave. One that no ACK has reached
-- is asked again, because it has left already. `detail` is when it has come, in ms since the epoch, if it was not there before.
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
--- @include "device"
--- @include "invite"
--- @include "unacknowledged"
local devices = devices_of(request.room)
--- @include "place_for"
--- @include "asked_lately"

redis.call("ZCARD", rooms) -- is a sorted set
local device = assert(request.device, "device")
local value = redis.call("HGET", members, request.from)
local is_wanted = is_member(value) and user_of(device) == request.from
    and (not device_in(devices, device) or has_given_up(room, device))
-- A member whose client is being asked as a whole has no devices yet: the answer decides.
is_wanted = is_wanted and not is_inviting(value) and not is_under_way(room, device, "")
    and not is_asked_lately(room, request.from, tonumber(request.detail) or 0)
local has_place, replaced = place_for(device)

commit()
if is_wanted and has_place and not replaced then
    send_invite(room, members, request.room, device, request.from)
end
return "done"
