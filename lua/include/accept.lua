-- Taking a request once. Needs recent, older, clock, requests, seen_ms, max_backlog, members_prefix. Gives accept.
--
-- What was seen is in two sets: new digests go into recent, which takes the place of older every seen_ms. When that
-- is due says a clock of their own. It goes by Redis's, but never by more than a second from one script to the next:
-- a time-to-live would end for all of them at once when Redis's clock jumps ahead.

local A_SECOND, A_DAY = 1000, 24 * 3600 * 1000

seen_ms, max_backlog = math.max(1, tonumber(seen_ms)), tonumber(max_backlog)
local backlog = redis.call("XLEN", requests)
local some_are_recent = redis.call("SCARD", recent) > 0
redis.call("SCARD", older) -- is a set
local at, age = unpack(redis.call("HMGET", clock, "at_ms", "age_ms"))
at, age = tonumber(at), tonumber(age) or 0
local has_passed = false

-- Once in a script, before it takes its first request. HSET comes first: it is refused when memory is full.
local function pass_time()
    has_passed = true
    local seconds, microseconds = unpack(redis.call("TIME"))
    local now = seconds * 1000 + math.floor(microseconds / 1000)
    age = age + math.min(math.max(0, now - (at or now)), A_SECOND)
    local is_due = age >= seen_ms
    redis.call("HSET", clock, "at_ms", now, "age_ms", is_due and 0 or age)
    if is_due then
        redis.call("UNLINK", older)
        if some_are_recent then
            redis.call("RENAME", recent, older)
        end
    end
end

-- So that a shard that nobody speaks to any more keeps nothing.
local function prolong()
    for _, key in ipairs({ recent, older, clock }) do
        redis.call("PEXPIRE", key, A_DAY)
    end
end

-- How many a message goes to if its sender may speak: what it costs that one. The invited count until they have
-- answered. Not our business is what is wrong with a room: its worker will see.
local function reach(from, room)
    local members = members_prefix .. room
    local size = redis.pcall("HEXISTS", members, from) == 1 and redis.pcall("HLEN", members)
    return type(size) == "number" and size - 1 or 0
end

-- Taken out first: that writes, which putting in what is there would not, and is not refused for memory.
local function again(digest)
    redis.call("SREM", older, digest)
    redis.call("SREM", recent, digest)
    redis.call("SADD", recent, digest)
    return "duplicate"
end

-- ... are fields and values of the request, the first of them type, from, room.
local function accept(digest, ...)
    local is_full, is_first = max_backlog > 0 and backlog >= max_backlog, not has_passed
    if redis.call("SISMEMBER", older, digest) == 1 then
        return again(digest)
    end
    -- later on the SADD below tells
    if (is_full or is_first) and redis.call("SISMEMBER", recent, digest) == 1 then
        return again(digest)
    elseif is_full then
        return "overloaded"
    end
    local _, kind, _, from, _, room = ...
    local deliveries = members_prefix ~= "" and kind == "message" and reach(from, room)
    if is_first then
        pass_time()
    end
    if redis.call("SADD", recent, digest) == 0 then
        return again(digest)
    end
    redis.call("XADD", requests, "*", ...)
    if is_first then
        prolong()
    end
    backlog = backlog + 1
    if deliveries then
        return deliveries
    end
    return "accepted"
end
