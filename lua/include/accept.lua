-- Taking requests once. Needs recent, older, clock, requests, seen_ms, max_backlog, members_prefix, and of the
-- requests: digests, parts, and first and last: where in parts each one's fields and values are, the first of them
-- type, from, room. Gives accept.
--
-- What was seen is in two sets: new digests go into recent, which takes the place of older every seen_ms. When that
-- is due says a clock of their own. It goes by Redis's, but never by more than a second from one script to the next:
-- a time-to-live would end for all of them at once when Redis's clock jumps ahead.

local A_SECOND, A_DAY = 1000, 24 * 3600 * 1000

seen_ms, max_backlog = math.max(1, tonumber(seen_ms)), tonumber(max_backlog)

-- All are looked up before anything is written, in one go: among many, each costs less.
local backlog = redis.call("XLEN", requests)
local are_recent = redis.call("SMISMEMBER", recent, unpack(digests))
local are_older = redis.call("SMISMEMBER", older, unpack(digests))
local looked_at, age = unpack(redis.call("HMGET", clock, "at_ms", "age_ms"))

-- The script's first write, if anything is new: it is refused when memory is full, and no later one is.
local function pass_time()
    local seconds, microseconds = unpack(redis.call("TIME"))
    local now = seconds * 1000 + math.floor(microseconds / 1000)
    age = (tonumber(age) or 0) + math.min(math.max(0, now - (tonumber(looked_at) or now)), A_SECOND)
    local is_due = age >= seen_ms
    redis.call("HSET", clock, "at_ms", now, "age_ms", is_due and 0 or age)
    if is_due then
        redis.call("UNLINK", older)
        if redis.call("EXISTS", recent) == 1 then
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

-- What one that is taken is told: with members_prefix, how many a message goes to if its sender may speak, for that is
-- what it costs that one. The invited count until they have answered. Not our business is what is wrong with a room:
-- its worker will see.
local function told(request)
    local kind, from, room = parts[request + 1], parts[request + 3], parts[request + 5]
    if members_prefix == "" or kind ~= "message" then
        return "accepted"
    end
    local members = members_prefix .. room
    local size = redis.pcall("HEXISTS", members, from) == 1 and redis.pcall("HLEN", members)
    return type(size) == "number" and size - 1 or 0
end

-- Taken out first: that writes, which putting in what is there would not, and is not refused for memory.
local function again(digest)
    redis.call("SREM", older, digest)
    redis.call("SREM", recent, digest)
    redis.call("SADD", recent, digest)
end

local new, place, repeated = {}, {}, {}

-- What becomes of the i-th request; writes nothing.
local function judge(i, digest)
    if are_recent[i] == 1 or are_older[i] == 1 then
        repeated[#repeated + 1] = digest
        return "duplicate"
    elseif place[digest] then
        return "duplicate"
    elseif max_backlog > 0 and backlog + #new >= max_backlog then
        return "overloaded"
    end
    new[#new + 1], place[digest] = digest, i
    return told(first[i])
end

local function accept()
    local results = {}
    for i, digest in ipairs(digests) do
        results[i] = judge(i, digest)
    end
    if #new > 0 then
        pass_time()
        for _, digest in ipairs(new) do
            local i = place[digest]
            redis.call("XADD", requests, "*", unpack(parts, first[i], last[i]))
        end
        redis.call("SADD", recent, unpack(new))
    end
    for _, digest in ipairs(repeated) do
        again(digest)
    end
    if #new + #repeated > 0 then
        prolong()
    end
    return results
end
