-- The report of a probe that found the member there: what follows the probed message is handed to it, in all rooms of
-- the shard. If the probe was the second missed message, because the first was refused three times, the first one is
-- lost: it is recorded in undelivered. For a device, `members` are the devices of the room.
--
-- KEYS:
--   requests     imc:{S}:in               stream
--   events       imc:{S}:out              stream
--   rooms        imc_rooms:{S}            sorted set
--   room         imc_rooms:{S}:ROOM       hash
--   members      imc_members:{S}:ROOM or imc_devices:{S}:ROOM  hash
--   away_rooms   imc:{S}:away_rooms:FROM  set
--   probes       imc:{S}:probes           sorted set
--   probe_waits  imc:{S}:probe_waits      hash
--   undelivered  imc:{S}:undelivered      stream
--
-- ARGV:
--   entry_id         the request's id in requests
--   delivery_chunk   recipients per event entry, at most
--   undelivered_max  failures to keep, approximately
--   room_prefix      imc_rooms:{S}:
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
local requests, events, rooms, room, members, away_rooms, probes, probe_waits, undelivered = unpack(KEYS)
local entry_id, delivery_chunk, undelivered_max, room_prefix = unpack(ARGV)
assert(room_prefix, "undelivered_max and room_prefix")
--- @include "request"
--- @include "emit"
--- @include "role"
--- @include "positions"
--- @include "call_all_back"

redis.call("ZCARD", rooms) -- is a sorted set
redis.call("XLEN", undelivered) -- is a stream
undelivered_max = math.max(0, tonumber(undelivered_max))
local user, probed = request.from, request.history_id or request.of or "0-0"
local value = redis.call("HGET", members, user)
local position, refused = unpack(redis.call("HMGET", room, "away:" .. user, "refused:" .. user))
local is_passed = is_away(value) and position and not is_before(probed, position)
local is_lost = is_passed and position ~= probed and (refused or ""):match("^%S+") == position

commit()
if is_lost then
    redis.call("XADD", undelivered, "MAXLEN", "~", undelivered_max, "*", "event", "message", "from", user,
        "room", request.room, "user", request.user or "", "status", "500", "of", position)
end
if is_passed then
    redis.call("HSET", room, "away:" .. user, behind(probed))
    redis.call("HDEL", room, "refused:" .. user)
end
call_all_back(user_of(user))
return "done"
