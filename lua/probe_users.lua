-- Of the users who are away, those whose next probe is due get the first message that they missed, to see whether they
-- are back. Each failed probe doubles the wait until the next one. A user is probed in one room: if it is there, the
-- other rooms follow (welcome_back). A member who has missed nothing that the room still keeps is no longer away. Each device
-- that has missed an INVITE is invited to one room, by a request to the worker (invite_device).
--
-- KEYS:
--   probes       imc:{S}:probes       sorted set
--   probe_waits  imc:{S}:probe_waits  hash
--   events       imc:{S}:out          stream
--
-- ARGV:
--   max_probes         users probed now, at most
--   max_wait_ms        longest wait between two probes
--   history_max        messages that a room keeps; 0: none, so nobody stays away
--   oldest_ms          nothing older is sent, by the worker's clock; ms since the epoch
--   max_age_ms         the same as an age, by Redis's clock; 0: no limit
--   away_rooms_prefix  imc:{S}:away_rooms:
--   room_prefix        imc_rooms:{S}:
--   members_prefix     imc_members:{S}:
--   history_prefix     imc_history:{S}:
--
-- Returns:
--   (number)  how many users were probed, or invited
--
-- Events:
--   message  to the user; catch_up: probe, wait: ms until the next one; since: from where on the member has missed messages;
--            joined: since when the user is one, or a later place up to which nothing is left to be sent
--   invited  to the user, whose invitation found nobody; user: the same
local probes, probe_waits, events = unpack(KEYS)
local max_probes, max_wait_ms, history_max, oldest_ms, max_age_ms, away_rooms_prefix, room_prefix, members_prefix, history_prefix = unpack(ARGV)
assert(history_prefix, "five numbers and four prefixes")
local delivery_chunk, request, away_rooms = 1, nil, nil
--- @include "emit"
--- @include "role"
--- @include "positions"
--- @include "missed"
--- @include "now"
--- @include "too_old"
local oldest = oldest_kept(oldest_ms, max_age_ms) -- also what probe needs
--- @include "end_away"
--- @include "invite_again"
--- @include "invite"
--- @include "device"
--- @include "missed_notify"
--- @include "probe"

redis.call("HLEN", probe_waits) -- is a hash
max_wait_ms, history_max = tonumber(max_wait_ms), tonumber(history_max)
local plans, count = {}, 0
local due = redis.call("ZRANGE", probes, "-inf", now, "BYSCORE", "LIMIT", 0, max_probes)
-- no wait is so long: what is so far ahead was planned while the clock was ahead
for _, user in ipairs(redis.call("ZRANGE", probes, now + 2 * max_wait_ms, "+inf", "BYSCORE", "LIMIT", 0, max_probes - #due)) do
    due[#due + 1] = user
end
for i, user in ipairs(due) do
    -- a user with a broken room must not keep all others from being probed
    local is_planned, made = pcall(plan, user)
    plans[i] = is_planned and made or { user = user }
end
for _, each in ipairs(plans) do
    redis.call("ZREM", probes, each.user)
end
for _, each in ipairs(plans) do
    if not each.rooms then
        redis.call("ZADD", probes, now + max_wait_ms, each.user)
    elseif carry_out(each) then
        count = count + 1
    end
end
return count
