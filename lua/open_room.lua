-- A member wants the room in a client that shows rooms as conferences: those of its devices that are not in the room are
-- asked by INVITE. If no device of the user is known, the INVITE goes to the user's address. Until one accepts, the member
-- goes on as before.
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
--   client_devices  devices of the sender that show conferences, separated by spaces
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   refused  to the sender: unknown_room, not_member
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk, client_devices = unpack(ARGV)
assert(client_devices, "client_devices")
--- @include "request"
--- @include "refuse"
--- @include "device"
--- @include "invite"
--- @include "unacknowledged"

local reason = refusal("member")
if reason then
    return refuse(reason)
end

local value = redis.call("HGET", members, request.from)
local missing = {}
for device in client_devices:gmatch("%S+") do
    local is_own = user_of(device) == request.from
    local is_there = device_in(devices_of(request.room), device) and not has_given_up(room, device)
    if is_own and not is_there and not is_under_way(room, device, "") then
        missing[#missing + 1] = device
    end
end
-- Linphone leaves a room to which it is invited again, so one INVITE has to have its outcome before the next one. While its
-- user is being asked as a whole, the answer decides what the user gets.
local is_asked = is_under_way(room, request.from, value)
-- Linphone keeps a room under the address by which it was invited. A proxy that forks would bring an INVITE to the user's address
-- to devices that know the room under their own name: they would show it twice. It has forked if a device here has no such name.
local has_own_name, is_forked = false, false
for _, device in ipairs(redis.call("HKEYS", devices_of(request.room))) do
    is_forked = is_forked or device ~= without_aor(device)
    has_own_name = has_own_name or (user_of(device) == request.from and device == without_aor(device))
end
local is_by_address = (client_devices == "" and not (has_own_name and is_forked)) or is_inviting(value)

commit()
if is_by_address and not is_asked then
    send_invite(room, members, request.room, request.from, request.from)
elseif not is_asked then
    invite_devices(table.concat(missing, " "), request.from)
end
return "done"
