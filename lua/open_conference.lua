-- The client of a conference (RFC 4579) creates a private room by INVITE, and with it (RFC 5366) its members: each is asked
-- by INVITE, and so are the other devices of the creator. `detail` has their addresses, separated by spaces. Who has no
-- place in the room is left out.
--
-- KEYS:
--   requests       imc:{S}:in                    stream
--   events         imc:{S}:out                   stream
--   rooms          imc_rooms:{S}                 sorted set
--   room           imc_rooms:{S}:ROOM            hash
--   members        imc_members:{S}:ROOM          hash
--   owned_rooms    imc:{S}:owned_rooms:SENDER    set
--   private_rooms  imc:{S}:private_rooms:SENDER  set
--
-- ARGV:
--   entry_id              the request's id in requests
--   delivery_chunk        recipients per event entry, at most
--   max_rooms_per_owner   limit of rooms one user owns, 0 none
--   owned_elsewhere       rooms of that user in other shards
--   max_members           limit of members and invitations, 0 none
--   client_devices        devices of the sender that show conferences, separated by spaces
--   private_rooms_prefix  imc:{S}:private_rooms:
--   owned_rooms_prefix    imc:{S}:owned_rooms:
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   bye      to the device, if the room cannot be made; dialog: that of the request
--   refused  to the sender: room_exists, too_many_rooms
local requests, events, rooms, room, members, owned_rooms, private_rooms = unpack(KEYS)
local entry_id, delivery_chunk, max_rooms_per_owner, owned_elsewhere, max_members, client_devices, private_rooms_prefix, owned_rooms_prefix = unpack(ARGV)
assert(owned_rooms_prefix, "four numbers, devices and two prefixes")
--- @include "request"
--- @include "refuse"
--- @include "owned_rooms"
--- @include "roster"
--- @include "invite"
--- @include "without_port"
--- @include "dialog"
--- @include "place_now"

local MAX_INVITED = 1000 -- at once, if the operator has set no limit
max_members = tonumber(max_members)
local places = max_members > 0 and max_members - 1 or MAX_INVITED
redis.call("SCARD", private_rooms) -- is a set
local device = assert(request.device, "device")
local dialog = dialog_of(request)
local reason = private and "room_exists" or owns_maximum and "too_many_rooms"
if reason then
    refuse(reason)
    end_dialog(device, dialog)
    return "done"
end

local invited, is_invited = {}, { [request.from] = true, [request.room] = true }
local ports = { [without_port(request.from)] = 1 }
for address in (request.detail or ""):gmatch("%S+") do
    local user = without_port(address)
    local count = ports[user] or 0
    if not is_invited[address] and not is_device(address) and #invited < places and count < MAX_PORTS then
        redis.call("SCARD", private_rooms_prefix .. address) -- is a set
        is_invited[address], invited[#invited + 1], ports[user] = true, address, count + 1
    end
end

commit()
redis.call("DEL", "imc:" .. events:match("{%d+}") .. ":opening:" .. request.room)
local created_at = entry_id:match("^%d+") -- the stream's id begins with the time, in ms since the epoch
redis.call("HSET", room, "private", "1", "owner", request.from, "created_at", created_at, "rev", "1",
    "joined:" .. request.from, place_now()) -- before all messages: a device that comes later gets everything
if (request.text or "") ~= "" then
    redis.call("HSET", room, "topic", request.text)
end
if request.data then
    redis.call("HSET", room, "conference", request.data)
end
redis.call("HSET", room, "dialog:" .. device, dialog, "unshown:" .. device, "1")
redis.call("HSET", devices, device, "device")
redis.call("HSET", members, request.from, "owner devices")
redis.call("ZADD", rooms, "1", request.room)
redis.call("SADD", owned_rooms, request.room)
redis.call("SADD", private_rooms, request.room)
for _, address in ipairs(invited) do
    redis.call("HSET", members, address, "member inviting")
    redis.call("SADD", private_rooms_prefix .. address, request.room)
end
for _, address in ipairs(invited) do
    local id = send_invite(room, members, request.room, address, request.from)
    redis.call("HSET", room, "joined:" .. address, id, "away:" .. address, id)
end
invite_devices(client_devices, request.from)
return "done"
