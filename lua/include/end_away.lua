-- A member or device that was away is here again. Needs away_rooms, probes, probe_waits (of that user) and events. Gives
-- end_away, and what away_rooms and place_now give.
--- @include "away_rooms"
--- @include "farewells"
--- @include "place_now"

-- After commit. `value` is the member's field. With the last room of the shard, its probes end. `is_empty`: of what was
-- missed, nothing is left to be handed out.
local function end_away(room, members, address, user, value, is_empty)
    if value ~= "invited" then
        redis.call("HSET", members, user, (value:gsub(" away$", "")))
    end
    redis.call("HDEL", room, "away:" .. user, "returning:" .. user, "refused:" .. user, "inviter:" .. user,
        "sign:" .. user, "ended:" .. user)
    if is_empty then
        redis.call("HSET", room, "ended:" .. user, place_now())
    end
    redis.call("SREM", away_rooms, away_room(address, user))
    if redis.call("SCARD", away_rooms) == 0 and redis.call("EXISTS", farewells_key(user_of(user))) == 0 then
        redis.call("ZREM", probes, user_of(user))
        redis.call("HDEL", probe_waits, user_of(user))
    end
end
