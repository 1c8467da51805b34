-- A member who has been away for longer than the operator allows is removed, by request of the janitor. The last owner is
-- never removed: a room without an owner could not be administered.
--
-- KEYS:
--   requests       imc:{S}:in                  stream
--   events         imc:{S}:out                 stream
--   rooms          imc_rooms:{S}               sorted set
--   room           imc_rooms:{S}:ROOM          hash
--   members        imc_members:{S}:ROOM        hash
--   private_rooms  imc:{S}:private_rooms:FROM  set
--   owned_rooms    imc:{S}:owned_rooms:FROM    set
--   away_rooms     imc:{S}:away_rooms:FROM     set
--
-- ARGV:
--   entry_id           the request's id in requests
--   delivery_chunk     recipients per event entry, at most
--   remove_after_days  how long a member may be away, 0 for ever
--   announce_joins     1: all members hear of joins and leaves, unless the room says otherwise
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   you_were_dropped  to the removed member
--   dropped           to the other members unless the room is quiet; user: the removed one
local requests, events, rooms, room, members, private_rooms, owned_rooms, away_rooms = unpack(KEYS)
local entry_id, delivery_chunk, remove_after_days, announce_joins = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "room"
--- @include "announce"
--- @include "member_state"
--- @include "owners"
--- @include "now"
--- @include "dismiss"

local A_DAY = 24 * 3600 * 1000
remove_after_days = tonumber(remove_after_days)
redis.call("SCARD", private_rooms) -- is a set
redis.call("SCARD", owned_rooms)
redis.call("SCARD", away_rooms)
local user = request.from
local since = (redis.call("HGET", room, "away:" .. user) or ""):match("^%d+")
local is_due = is_away(redis.call("HGET", members, user)) and since and remove_after_days > 0
    and now - since >= remove_after_days * A_DAY
local owns_no_more = sender_role == "owner" and not owns_at_another_port(user)
local is_last_owner = sender_role == "owner" and #with_role({ owner = true }) == 1

commit()
if not is_due or is_last_owner then
    return "done"
end
local had_devices = dismiss(user)
forget_member(user)
redis.call("SREM", private_rooms, request.room)
redis.call("SREM", away_rooms, request.room)
if owns_no_more then
    redis.call("SREM", owned_rooms, request.room)
end
emit("you_were_dropped", had_devices and {} or { user })
announce("dropped", {}, "user", user)
return "done"
