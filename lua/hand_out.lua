-- An edge hands a member who is back the next part of what it missed, in order. With the last part the member is no
-- longer away: what is said after it comes behind it in the same stream, so there is no gap. Of a long absence only the
-- latest messages are handed out. The edge asks for it with the id of the event catch_up, which ends here. A message
-- on which the member has failed before is a part of its own. The member may be a device: then `members` are the devices of
-- the room.
--
-- KEYS:
--   events       imc:{S}:out              stream
--   room         imc_rooms:{S}:ROOM       hash
--   members      imc_members:{S}:ROOM or imc_devices:{S}:ROOM  hash
--   history      imc_history:{S}:ROOM     stream
--   away_rooms   imc:{S}:away_rooms:USER  set
--   probes       imc:{S}:probes           sorted set
--   probe_waits  imc:{S}:probe_waits      hash
--
-- ARGV:
--   entry_id      id of the event catch_up in events
--   part          messages handed out at once, at most
--   catch_up_max  messages handed out after one absence, at most
--   oldest_ms     nothing older is handed out, by the edge's clock; ms since the epoch
--   max_age_ms    the same as an age, by Redis's clock; 0: no limit
--
-- Returns:
--   (number)  how many messages were handed out
--   gone      the event was handled before: nothing changed
--
-- Events:
--   skipped  to the member, before the first part; detail: how many earlier messages it has not got, unless it asks for
--            them (show_history)
--   message  to the member; catch_up: part, or more for the last one if another part follows; since, of the first
--            one: from where on the member has missed messages, also those that are not handed out; joined, of the
--            first one: since when the user is a member, or a later place up to which nothing is left to be sent
--   invited  to the user, if this is no member but was invited; user: the same
local events, room, members, history, away_rooms, probes, probe_waits = unpack(KEYS)
local entry_id, part, catch_up_max, oldest_ms, max_age_ms = unpack(ARGV)
local delivery_chunk, request = 1, nil
part, catch_up_max = math.max(1, tonumber(part)), math.max(1, tonumber(catch_up_max))
--- @include "emit"
--- @include "role"
--- @include "missed"
--- @include "unseen"
--- @include "refused"
--- @include "now"
--- @include "too_old"
--- @include "end_away"
--- @include "invite_again"
--- @include "invite"
--- @include "missed_notify"
--- @include "work_item"

local user, address = item.to or "", item.room or ""
local value = redis.call("HGET", members, user)
local about = { "away:" .. user, "returning:" .. user, "inviter:" .. user, "refused:" .. user }
local position, leading, inviter, refused = unpack(redis.call("HMGET", room, unpack(about)))
local joined = later_of(unpack(redis.call("HMGET", room, "joined:" .. user_of(user), "ended:" .. user)))
redis.call("XLEN", history) -- is a stream
redis.call("SCARD", away_rooms) -- is a set
redis.call("ZCARD", probes) -- is a sorted set
redis.call("HLEN", probe_waits) -- is a hash
local oldest = oldest_kept(oldest_ms, max_age_ms)

local found, left, id = {}, nil, nil
redis.call("XDEL", events, entry_id)
if not position or leading ~= entry_id then
    return #found
elseif value == "invited" then
    end_away(room, members, address, user, value)
    invite_again(room, address, user, inviter or address)
    return #found
elseif is_inviting(value) then
    -- the position stays: the device that accepts has missed what is behind it
    redis.call("HSET", members, user, (value:gsub(" away$", "")))
    redis.call("HDEL", room, "returning:" .. user)
    if not is_under_way(room, user, value) then
        send_invite(room, members, address, user, inviter or address)
    end
    return #found
end

local since = position
position = is_before(position, oldest) and oldest or position
local latest = item.first == "1" and redis.call("XREVRANGE", history, "+", position, "COUNT", catch_up_max + 1) or {}
if #latest > catch_up_max then
    local first = latest[#latest - 1][1]
    local ranges = with_skipped(unseen(room, user), position, first)
    position, request = first, { room = address, from = address }
    local count = count_unseen(history, ranges, user, now)
    if count > 0 then
        keep_unseen(room, user, ranges)
        emit("skipped", { user }, "detail", count, unpack(is_device(user) and { "client", "device" } or {}))
    end
end

found, left = missed(history, position, user, part, now)
local suspect, failures = refused_state(refused)
if suspect and found[1] and found[1][1] == suspect then
    found, left = { found[1] }, found[2] and found[2][1] or left or behind(suspect)
    keep_refused(room, user, suspect, failures, suspect, 0)
end
for i, message in ipairs(found) do
    local kind = left and i == #found and "more" or "part"
    if i == 1 then
        id = send_missed(message, address, user, value, "catch_up", kind, "since", since, "joined", joined or "")
    else
        id = send_missed(message, address, user, value, "catch_up", kind)
    end
end
if left then
    redis.call("HSET", room, "away:" .. user, left, "returning:" .. user, id)
else
    end_away(room, members, address, user, value, #found == 0)
    if is_device(user) then
        request = { room = address }
        notify_again(room, address, user)
    end
end
return #found
