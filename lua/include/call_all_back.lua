-- A user is back: an edge is asked to hand it what it missed, in each of the shard's rooms where it is away, and to send
-- the BYE and NOTIFY requests that found nobody. An INVITE that found nobody makes a probe due, which sends it again. Needs
-- away_rooms, probes, probe_waits (of that user), room_prefix and what call_back needs. Gives call_all_back.
--- @include "call_back"
--- @include "now"
--- @include "away_rooms"
--- @include "farewells"
--- @include "missed_notify"
--- @include "missed_invite"
redis.call("ZCARD", probes) -- is a sorted set
redis.call("HLEN", probe_waits)

-- If what is asked for here gets lost, as with an edge's dead letters, the next probe finds the user still away.
local NEXT_PROBE_MS = 60 * 1000
local left, returned, awaits_invite = {}, {}, false
local farewells = farewells_due(user_of(request.from))
for _, entry in ipairs(redis.call("SMEMBERS", away_rooms)) do
    local address, who = room_and_who(entry, user_of(request.from))
    local is_away = redis.call("HEXISTS", room_prefix .. address, "away:" .. who) == 1
    local has_missed = not is_away and is_device(who) and has_missed_notify(room_prefix .. address, who)
    if not is_away and missed_invite_at(room_prefix .. address, who) then
        awaits_invite = true
    else
        local list = is_away and returned or left
        list[#list + 1] = { entry = entry, address = address, who = who, has_missed = has_missed }
    end
end

-- After commit. Rooms that the user has left meanwhile are removed from the index.
local function call_all_back(user)
    for _, each in ipairs(left) do
        redis.call("SREM", away_rooms, each.entry)
        if each.has_missed then
            notify_again(room_prefix .. each.address, each.address, each.who)
        end
    end
    for _, farewell in ipairs(farewells) do
        say_farewell(farewell) -- before an INVITE to a user who was added again
    end
    for _, each in ipairs(returned) do
        call_back(room_prefix .. each.address, each.address, each.who, true)
    end
    if awaits_invite then -- the sign may be of another device of the user, so the waits between probes stay as long as they are
        redis.call("ZADD", probes, now, user)
        return
    end
    redis.call("HDEL", probe_waits, user)
    redis.call("ZREM", probes, user)
    if #returned > 0 then
        redis.call("ZADD", probes, now + NEXT_PROBE_MS + jitter(NEXT_PROBE_MS), user)
    end
end
