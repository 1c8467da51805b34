-- Redis's clock. Gives now, in ms since the epoch, and jitter.
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- A part of this many ms. The microseconds of the clock are random enough, and Lua's random numbers are the same in every
-- run of a script.
local function jitter(ms)
    return math.floor(ms * (time[2] % 1000) / 1000)
end
