-- The receipt of a delivery that failed for good (404, 410, 604): a member that collects evict_after of them
-- within ttl_ms is dropped from the room. The last owner never is: a room without one could not be put right.
--
-- KEYS:
--   requests       imc:{S}:in                  stream
--   events         imc:{S}:out                 stream
--   rooms          imc_rooms:{S}               sorted set
--   room           imc_rooms:{S}:ROOM          hash
--   members        imc_members:{S}:ROOM        hash
--   unreachable    imc:{S}:unreachable:ROOM    hash
--   private_rooms  imc:{S}:private_rooms:FROM  set
--   owned_rooms    imc:{S}:owned_rooms:FROM    set
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--   evict_after     failures that drop a member, 0 never
--   ttl_ms          how long failures are remembered, from a room's first one on
--
-- Returns:
--   done   the request had its effect, which may be a refusal
--   gone   it had its effect before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   dropped  to the other members
local requests, events, rooms, room, members, unreachable, private_rooms, owned_rooms = unpack(KEYS)
local entry_id, delivery_chunk, evict_after, ttl_ms = unpack(ARGV)
--- @include "head"
--- @include "emit"
--- @include "room"
--- @include "without_port"
--- @include "owners"

evict_after, ttl_ms = tonumber(evict_after), math.max(1, tonumber(ttl_ms))
redis.call("SCARD", private_rooms) -- is a set
redis.call("SCARD", owned_rooms)
local owns_no_more = sender_role == "owner" and not owns_otherwise(request.from)
local failures = (tonumber(redis.call("HGET", unreachable, request.from) or 0) or 0) + 1
local last_owner = sender_role == "owner" and #with_role({ owner = true }) == 1

commit()
if not MEMBERS[sender_role] or last_owner or evict_after == 0 then
    return "done"
elseif failures < evict_after then
    redis.call("HSET", unreachable, request.from, failures)
    if redis.call("PTTL", unreachable) < 0 then
        redis.call("PEXPIRE", unreachable, ttl_ms)
    end
    return "done"
end
redis.call("HDEL", unreachable, request.from)
redis.call("HDEL", members, request.from)
redis.call("SREM", private_rooms, request.room)
if owns_no_more then
    redis.call("SREM", owned_rooms, request.room)
end
emit("dropped", with_role(MEMBERS), "user", request.from, "detail", request.status or "")
return "done"
