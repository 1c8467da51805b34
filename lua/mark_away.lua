-- The report of a delivery that found nobody there: the member is away from this message on, or from an earlier one. It
-- is skipped by messages and notices until it is back, and an edge sends it the first message again from time to time.
-- An invitation or an INVITE that found nobody is sent again in the same way. In the report, `from` is the recipient, a
-- user or a device, `user` who caused the event, `history_id` or else `of` its id, and `status` how it failed. For a device,
-- `members` are the devices of the room. How a recipient is told from one that is there and cannot take one message:
-- include/exchange.lua.
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
--   history_off  imc:{S}:history_off      set
--   history      imc_history:{S}:ROOM     stream
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--   first_wait_ms   until the first probe
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
local requests, events, rooms, room, members, away_rooms, probes, probe_waits, history_off, history = unpack(KEYS)
local entry_id, delivery_chunk, first_wait_ms = unpack(ARGV)
--- @include "request"
--- @include "role"
--- @include "positions"
--- @include "now"
--- @include "away_rooms"
--- @include "emit"
--- @include "missed"
--- @include "exchange"
--- @include "forgotten"
--- @include "missed_invite"

-- The user of the device was asked (RFC 3261 §21.4.24, §21.6): no probe asks again.
local DECLINED = { ["486"] = true, ["600"] = true, ["603"] = true }

redis.call("ZCARD", rooms) -- is a sorted set
redis.call("SCARD", away_rooms)
redis.call("ZCARD", probes)
redis.call("HLEN", probe_waits)
redis.call("XLEN", history)
first_wait_ms = assert(tonumber(first_wait_ms), "first_wait_ms")
local user, position = request.from, request.history_id or request.of or "0-0"
local prober = user_of(user)
local value = redis.call("HGET", members, user)
local about = { "away:" .. user, "refused:" .. user, "invitation:" .. user, "joined:" .. prober, "ended:" .. user }
local known, refused, invitation, joined, ended = unpack(redis.call("HMGET", room, unpack(about)))
local of_user = is_device(user) and redis.call("HGET", room, "invitation:" .. prober)
local is_kept = redis.call("SISMEMBER", history_off, request.room) == 0
local is_invitation = request.event == "invited" or request.event == "invite"
local is_asked = value == "invited" or is_inviting(value)
-- the position that the room has is of an absence that has ended, or of a later message
local is_first = not known or not (is_away(value) or is_asked) or is_before(position, known)
local is_concerned
if is_invitation then
    is_concerned = is_asked and invitation == request.of
else
    -- a message of an earlier membership is not missed: what was said until the user came again must not be handed out
    local is_of_stay = not (joined and is_before(position, joined))
    is_concerned = is_kept and is_of_stay and is_member(value) and not is_inviting(value) and HERE[value] ~= "devices"
end

-- After commit. This device was invited, but was not there, or has declined. It is not in the room. The INVITE went to it alone,
-- or a proxy has named it in place of its user, and another device has accepted.
local function miss_invite()
    local field = "missed_invite:" .. user
    if invitation == request.of then
        redis.call("HDEL", room, "invitation:" .. user)
    end
    if DECLINED[request.status or ""] or not is_invited_later(missed_invite_at(room, user) or now) then
        redis.call("HDEL", room, field) -- it is asked when it registers again
        redis.call("SREM", away_rooms, away_room(request.room, user))
        return
    end
    redis.call("HSETNX", room, field, now)
    redis.call("SADD", away_rooms, away_room(request.room, user))
    if redis.call("ZADD", probes, "NX", now + first_wait_ms, prober) == 1 then
        redis.call("HSET", probe_waits, prober, first_wait_ms)
    end
end

commit()
if not value and is_device(user) and (invitation == request.of or of_user == request.of) then
    miss_invite()
end
if not is_concerned then
    return "done"
elseif HERE[value] then
    redis.call("HSET", members, user, value .. " away")
elseif is_invitation then
    local inviter = request.user or request.room
    redis.call("HSET", room, "inviter:" .. user, is_forgotten(inviter) and request.room or inviter)
end
if is_inviting(value) and not is_away(value) then
    redis.call("HSET", members, user, value .. " away")
end
if is_first then
    redis.call("HSET", room, "away:" .. user, position)
end
if (request.catch_up or "") ~= "" then
    redis.call("HDEL", room, "returning:" .. user) -- what led on to the next part has failed; not so a live message
end
redis.call("SADD", away_rooms, away_room(request.room, user))
-- A failed probe has its successor already; invitations are sent to users who are away, and so are probes, too. After
-- any other message the user was here a moment ago: probes begin anew, unless it fails on the same message each time.
local is_probe = request.catch_up == "probe" or is_invitation
local failures = note_failure(user, value, position, refused, is_first and position or known, later_of(joined, ended))
local wait = first_wait_ms * 2 ^ math.min(math.max(failures - 1, 0), 8)
local is_planned = redis.call("ZADD", probes, is_probe and "NX" or "LT", "CH", now + wait, prober) == 1
if is_planned or (failures > 1 and not is_probe) then
    redis.call("HSET", probe_waits, prober, wait)
end
return "done"
