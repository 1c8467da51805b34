-- The report of an INVITE that was refused by a client that knows no conferences, or by nobody for another reason than
-- absence: the member gets texts, at first what was said since it has joined. If only a device was asked (`from`), nothing
-- changes.
--
-- KEYS:
--   requests     imc:{S}:in               stream
--   events       imc:{S}:out              stream
--   rooms        imc_rooms:{S}            sorted set
--   room         imc_rooms:{S}:ROOM       hash
--   members      imc_members:{S}:ROOM     hash
--   away_rooms   imc:{S}:away_rooms:FROM  set
--   probes       imc:{S}:probes           sorted set
--   probe_waits  imc:{S}:probe_waits      hash
--   history_off  imc:{S}:history_off      set
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--   history_max     messages that a room keeps, approximately; 0: none
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   added  to the member; user: the same
local requests, events, rooms, room, members, away_rooms, probes, probe_waits, history_off = unpack(KEYS)
local entry_id, delivery_chunk, history_max = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "role"
--- @include "away_rooms"
--- @include "call_back"

redis.call("ZCARD", rooms) -- is a sorted set
redis.call("SCARD", away_rooms)
redis.call("ZCARD", probes)
redis.call("HLEN", probe_waits)
local keeps = tonumber(history_max) > 0 and redis.call("SISMEMBER", history_off, request.room) == 0
local user, address, inviter = request.from, request.room, request.user or request.room
local value = redis.call("HGET", members, user)
local position, invitation = unpack(redis.call("HMGET", room, "away:" .. user, "invitation:" .. user))
local is_concerned = is_inviting(value) and invitation == request.of
local is_missing = keeps and position

commit()
if not is_concerned and not is_inviting(value) and invitation == request.of then
    redis.call("HDEL", room, "invitation:" .. user, "missed_invite:" .. user)
end
if not is_concerned then
    return "done"
end
redis.call("HDEL", room, "invitation:" .. user, "returning:" .. user, "inviter:" .. user)
redis.call("HSET", members, user, role_of(value) .. (is_missing and " away" or ""))
request = { room = address, from = inviter, data = request.data }
emit("added", { user }, "user", user)
if is_missing then
    redis.call("SADD", away_rooms, away_room(address, user))
    call_back(room, address, user, true)
else
    redis.call("HDEL", room, "away:" .. user)
end
return "done"
