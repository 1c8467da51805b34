-- The report of a probe that found the member there: what follows the probed message is handed to it, in all rooms of
-- the shard. Messages before it that the member could not take are lost (include/exchange.lua): they are recorded in
-- undelivered. A message that could not be sent shows nothing: then the one behind it is tried. If the probe was an `idle`,
-- `history_id` is a missed message: it is tried alone, to see whether the member can take it. For a device, `members` are the
-- devices of the room.
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
--   history      imc_history:{S}:ROOM     stream
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
local requests, events, rooms, room, members, away_rooms, probes, probe_waits, undelivered, history = unpack(KEYS)
local entry_id, delivery_chunk, undelivered_max, room_prefix = unpack(ARGV)
assert(room_prefix, "undelivered_max and room_prefix")
--- @include "request"
--- @include "emit"
--- @include "role"
--- @include "positions"
--- @include "missed"
--- @include "exchange"
--- @include "call_all_back"

local FAILED_PROBES = 2 -- at least, before an `idle` was sent; and the next attempt is the third

redis.call("ZCARD", rooms) -- is a sorted set
redis.call("XLEN", undelivered) -- is a stream
redis.call("XLEN", history)
undelivered_max = math.max(0, tonumber(undelivered_max))
local user, probed = request.from, request.history_id or request.of or "0-0"
local value = redis.call("HGET", members, user)
local about = { "away:" .. user, "refused:" .. user, "joined:" .. user_of(user), "ended:" .. user }
local position, refused, joined, ended = unpack(redis.call("HMGET", room, unpack(about)))
joined = later_of(joined, ended)
local first, count, trying, number = refused_state(refused)
local is_idle = request.event == "idle"
local is_passed = is_away(value) and position and not is_idle and not is_before(probed, position)
local is_exchange = is_passed and first and is_before(first, probed) and not is_before(first, position)
local is_silent = is_exchange and not (request.status or ""):find("^%d%d%d")
local following = is_silent and trying == probed and number < count
    and missed(history, behind(probed), user, 1, now)[1]
local lost = is_exchange and not is_silent and missed(history, first, user, count, now, "(" .. probed) or {}
local is_still_away = is_idle and is_away(value) and position
local tried = is_still_away and missed(history, probed, user, 1, now, probed)[1]

commit()
for _, each in ipairs(lost) do
    redis.call("XADD", undelivered, "MAXLEN", "~", undelivered_max, "*", "event", "message", "from", user,
        "room", request.room, "user", each[2], "status", "refused", "of", each[1])
end
if is_silent then
    if following then
        keep_refused(room, user, first, count, following[1], number + 1)
        send_alone(following, request.room, user, value, number + 1, position, joined)
    else
        keep_refused(room, user, first, count, "-", 0) -- the next probe begins with the first message
    end
    return "done"
elseif is_passed then
    redis.call("HSET", room, "away:" .. user, behind(probed))
    redis.call("HDEL", room, "refused:" .. user)
elseif is_still_away then
    if try_again(room, request.room, user, value, tried, refused, position, joined) then
        return "done"
    end
    keep_refused(room, user, probed, math.max(first == probed and count or 0, FAILED_PROBES), "-", 0)
end
call_all_back(user_of(user))
return "done"
