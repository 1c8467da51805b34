-- Budgets: so much at once, and so much more per hour; what is not used is there later. Only the server's own
-- clock counts: put back, nothing is added for that while; put forward, a budget is full sooner.
-- Gives left, wait_ms, keep.
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- What is left of a budget (negative: owed), and its field `last`.
local function left(budget, per_hour, burst)
    local kept = redis.call("HMGET", budget, "tokens", "at", "last")
    if not kept[1] then
        return burst, false
    end
    local passed = math.max(0, now - tonumber(kept[2]))
    return math.min(burst, tonumber(kept[1]) + passed * per_hour / 3600000), kept[3]
end

-- Milliseconds until there are so many.
local function wait_ms(tokens, wanted, per_hour)
    return math.max(0, math.ceil((wanted - tokens) * 3600000 / per_hour))
end

-- Kept until it is full again.
local function keep(budget, tokens, last, per_hour, burst)
    redis.call("HSET", budget, "tokens", tokens, "at", now, "last", last or "")
    redis.call("PEXPIRE", budget, wait_ms(tokens, burst, per_hour) + 1000)
end
