-- The sender leaves. With the last owner the room goes too, or that owner has to stay. Who is invited only,
-- denies.
--
-- KEYS:
--   requests       imc:{S}:in                    stream
--   events         imc:{S}:out                   stream
--   rooms          imc_rooms:{S}                 sorted set
--   room           imc_rooms:{S}:ROOM            hash
--   members        imc_members:{S}:ROOM          hash
--   private_rooms  imc:{S}:private_rooms:SENDER  set
--   owned_rooms    imc:{S}:owned_rooms:SENDER    set
--   unreachable    imc:{S}:unreachable:ROOM      hash
--
-- ARGV:
--   entry_id              the request's id in requests
--   delivery_chunk        recipients per event entry, at most
--   owner_exit            destroy or refuse: what the last owner's exit does
--   private_rooms_prefix  imc:{S}:private_rooms:
--   owned_rooms_prefix    imc:{S}:owned_rooms:
--
-- Returns:
--   done   the request had its effect, which may be a refusal
--   gone   it had its effect before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   left       to the other members
--   denied     to owners and admins: the sender was only invited
--   destroyed  to all members, the sender too: it was the last owner
--   refused    to the sender: unknown_room, not_member, last_owner
local requests, events, rooms, room, members, private_rooms, owned_rooms, unreachable = unpack(KEYS)
local entry_id, delivery_chunk, owner_exit, private_rooms_prefix, owned_rooms_prefix = unpack(ARGV)
--- @include "head"
--- @include "emit"
--- @include "room"
--- @include "refuse"
--- @include "uninvite"
--- @include "without_port"
--- @include "owners"
--- @include "destroy"

redis.call("SCARD", private_rooms) -- is a set
redis.call("SCARD", owned_rooms)
local reason = refusal("member")
if sender_role == "invited" then
    return uninvite()
elseif reason then
    return refuse(reason)
elseif sender_role == "owner" and #with_role({ owner = true }) == 1 then
    return owner_exit == "destroy" and destroy() or refuse("last_owner")
end

local owns_no_more = sender_role == "owner" and not owns_otherwise(request.from)
commit()
redis.call("HDEL", members, request.from)
redis.call("SREM", private_rooms, request.room)
if owns_no_more then
    redis.call("SREM", owned_rooms, request.room)
end
emit("left", with_role(MEMBERS))
return "done"
