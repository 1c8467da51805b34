-- The receipt of a delivery that failed for good (404, 410, 604): a member with evict_after of them within ttl_ms
-- is removed from the room. The last owner is never removed: a room without an owner could not be administered.
--
-- KEYS:
--   requests       imc:{S}:in                  stream
--   events         imc:{S}:out                 stream
--   rooms          imc_rooms:{S}               sorted set
--   room           imc_rooms:{S}:ROOM          hash
--   members        imc_members:{S}:ROOM        hash
--   private_rooms  imc:{S}:private_rooms:FROM  set
--   owned_rooms    imc:{S}:owned_rooms:FROM    set
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--   evict_after     failures after which a member is removed, 0 for never
--   ttl_ms          how long failures count, from the first one on
--   announce_joins  1: all members hear of joins and leaves, unless the room says otherwise
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   dropped  to the other members unless the room is quiet; user: the dropped one, detail: the SIP status
local requests, events, rooms, room, members, private_rooms, owned_rooms = unpack(KEYS)
local entry_id, delivery_chunk, evict_after, ttl_ms, announce_joins = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "room"
--- @include "announce"
--- @include "member_state"
--- @include "owners"

evict_after, ttl_ms = tonumber(evict_after), math.max(1, tonumber(ttl_ms))
redis.call("SCARD", private_rooms) -- is a set
redis.call("SCARD", owned_rooms)
local owns_no_more = sender_role == "owner" and not owns_at_another_port(request.from)
local is_last_owner = sender_role == "owner" and #with_role({ owner = true }) == 1

-- "COUNT SINCE_MS". A count that is older than ttl_ms, or from before the server's clock was set back, starts again.
local field = "failures:" .. request.from
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local count, since = (redis.call("HGET", room, field) or ""):match("^(%d+) (%d+)$")
if not count or now - since >= ttl_ms or now - since < 0 then
    count, since = 0, string.format("%d", now)
end
count = count + 1

commit()
if not is_member(sender_role) or is_last_owner or evict_after == 0 then
    return "done"
elseif count < evict_after then
    redis.call("HSET", room, field, string.format("%d %s", count, since))
    return "done"
end
forget_member(request.from)
redis.call("SREM", private_rooms, request.room)
if owns_no_more then
    redis.call("SREM", owned_rooms, request.room)
end
announce("dropped", {}, "user", request.from, "detail", request.status or "")
return "done"
