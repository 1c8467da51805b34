-- The memory of accepted requests, by digest. Needs digests, seen_ms and call (redis.call). Gives look_up, is_duplicate,
-- remember and renew. Their argument shard has the keys recent, older and clock, and from and to: which of digests are
-- its own.
--
-- The digests are in two sets: new ones go into recent, and every seen_ms recent replaces older. The clock of that
-- is our own. It follows Redis's clock, but advances by at most a second from one script to the next: with a
-- time-to-live, all digests would end at once when Redis's clock is set forward.
local A_MOMENT, A_SECOND, A_MINUTE, A_DAY = 100, 1000, 60 * 1000, 24 * 3600 * 1000
local seconds, microseconds = unpack(call("TIME"))
local now = seconds * 1000 + math.floor(microseconds / 1000)

-- All are looked up before anything is written, and at once: each of many costs less.
local function look_up(shard)
    local from, to = shard.from, shard.to
    shard.are_recent = call("SMISMEMBER", shard.recent, unpack(digests, from, to))
    shard.are_older = call("SMISMEMBER", shard.older, unpack(digests, from, to))
    local last_at, age = unpack(call("HMGET", shard.clock, "at_ms", "age_ms"))
    shard.last_at, shard.age = tonumber(last_at), tonumber(age) or 0
end

local function is_duplicate(shard, i)
    local place = i - shard.from + 1
    return shard.are_recent[place] == 1 or shard.are_older[place] == 1
end

-- A shard without requests keeps nothing: its keys expire after a day.
local function prolong(shard)
    call("PEXPIRE", shard.recent, A_DAY)
    call("PEXPIRE", shard.older, A_DAY)
    call("PEXPIRE", shard.clock, A_DAY)
end

-- Makes the given digests known. With new requests this is the script's first write: Redis refuses it when memory is
-- full, and after it no other. The clock is written when a moment has passed: to write it each time costs 2 us.
local function remember(shard, new)
    local recent, older, last_at = shard.recent, shard.older, shard.last_at
    local passed = now - (last_at or now)
    local age = shard.age + math.min(math.max(0, passed), A_SECOND)
    local is_due = age >= math.max(1, tonumber(seen_ms))
    if last_at and not is_due and passed >= 0 and passed < A_MOMENT then
        call("SADD", recent, unpack(new))
        return
    end
    call("HSET", shard.clock, "at_ms", now, "age_ms", is_due and 0 or age)
    if is_due then
        call("UNLINK", older)
        if call("EXISTS", recent) == 1 then
            call("RENAME", recent, older)
        end
    end
    call("SADD", recent, unpack(new))
    -- once a minute is enough for keys that expire after a day
    if is_due or not last_at or math.floor(now / A_MINUTE) ~= math.floor(last_at / A_MINUTE) then
        prolong(shard)
    end
end

-- Keeps the digests of duplicates for longer. Each is removed and added: a write even if nothing changes, so that WAIT
-- and WAITAOF after it cover the first copy too. The removal comes first because Redis accepts it when memory is full.
local function renew(shard, duplicates)
    for _, digest in ipairs(duplicates) do
        call("SREM", shard.older, digest)
        call("SREM", shard.recent, digest)
        call("SADD", shard.recent, digest)
    end
    prolong(shard)
end
