-- A member who was away is here again. Needs away_rooms, probes, probe_waits (of that user). Gives end_away.

-- After commit. `value` is the member's field. With the last room of the shard, its probes end.
local function end_away(room, members, address, user, value)
    if value ~= "invited" then
        redis.call("HSET", members, user, (value:gsub(" away$", "")))
    end
    redis.call("HDEL", room, "away:" .. user, "returning:" .. user, "refused:" .. user, "inviter:" .. user)
    redis.call("SREM", away_rooms, address)
    if redis.call("SCARD", away_rooms) == 0 then
        redis.call("ZREM", probes, user)
        redis.call("HDEL", probe_waits, user)
    end
end
