-- A member gets another role. An owner gives and takes any role. An admin makes members admins, and may become a
-- plain member. The last owner stays owner.
--
-- KEYS:
--   requests     imc:{S}:in                stream
--   events       imc:{S}:out               stream
--   rooms        imc_rooms:{S}             sorted set
--   room         imc_rooms:{S}:ROOM        hash
--   members      imc_members:{S}:ROOM      hash
--   owned_rooms  imc:{S}:owned_rooms:USER  set
--
-- ARGV:
--   entry_id             the request's id in requests
--   delivery_chunk       recipients per event entry, at most
--   max_rooms_per_owner  limit of rooms one user owns, 0 none
--   owned_elsewhere      rooms of that user in other shards
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   role_changed  to all members; user: whose role, role: the new one
--   refused       to the sender: unknown_room, not_member, admins_only, owner_only, bad_role, not_in_room,
--                 role_already, last_owner, too_many_rooms
local requests, events, rooms, room, members, owned_rooms = unpack(KEYS)
local entry_id, delivery_chunk, max_rooms_per_owner, owned_elsewhere = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "owned_rooms"
--- @include "owners"
--- @include "roster"
--- @include "authority"

local user_value = redis.call("HGET", members, request.user)
local user_role = role_of(user_value)
local role = request.role
-- the user's own room at another port is counted already
local is_one_more = role == "owner" and owns_maximum and not owns_at_another_port(request.user)
local reason = refusal("admin")
    or (not RANK[role] and "bad_role")
    or (not is_member(user_role) and "not_in_room")
    or (user_role == role and "role_already")
    or against_role(sender_role, user_role, role, request.user == request.from)
    or (user_role == "owner" and #with_role({ owner = true }) == 1 and "last_owner")
    or (is_one_more and "too_many_rooms")
if reason then
    return refuse(reason)
end

local owns_no_more = user_role == "owner" and not owns_at_another_port(request.user)
commit()
redis.call("HSET", members, request.user, (user_value:gsub("^%a+", role)))
if role == "owner" then
    redis.call("SADD", owned_rooms, request.room)
elseif owns_no_more then
    redis.call("SREM", owned_rooms, request.room)
end
record(request.user)
tell("role_changed", { request.from, request.user }, here(RANK), "user", request.user, "role", role)
return "done"
