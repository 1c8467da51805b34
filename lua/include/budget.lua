-- Budgets (token buckets): a burst at once, and a number per hour in the long run. Time is the server's own clock:
-- if it is set back, nothing is added for that time; if it is set forward, a budget is full sooner. Gives left,
-- wait_ms, keep.
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- What is left of a budget (negative: overdrawn), and its field `last`.
local function left(budget, per_hour, burst)
    local kept = redis.call("HMGET", budget, "tokens", "at", "last")
    if not kept[1] then
        return burst, false
    end
    local passed = math.max(0, now - tonumber(kept[2]))
    return math.min(burst, tonumber(kept[1]) + passed * per_hour / 3600000), kept[3]
end

-- Milliseconds until the budget has this many tokens.
local function wait_ms(tokens, wanted, per_hour)
    return math.max(0, math.ceil((wanted - tokens) * 3600000 / per_hour))
end

-- Stores a budget until it is full again.
local function keep(budget, tokens, last, per_hour, burst)
    redis.call("HSET", budget, "tokens", tokens, "at", now, "last", last or "")
    redis.call("PEXPIRE", budget, wait_ms(tokens, burst, per_hour) + 1000)
end
