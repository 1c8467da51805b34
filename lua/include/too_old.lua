-- What is too old for a history is removed, or left out for good. A clock may be wrong by days. So a message is too old only
-- if two clocks say so: Redis's, and that of the process that asks. Needs now. Gives oldest_kept.

-- The position of the oldest message that is not too old. `oldest_ms` is its time by the clock of the process, in ms since
-- the epoch, `max_age_ms` its age; 0: no limit.
local function oldest_kept(oldest_ms, max_age_ms)
    local oldest, max_age = assert(tonumber(oldest_ms), "oldest_ms"), assert(tonumber(max_age_ms), "max_age_ms")
    return string.format("%d-0", max_age > 0 and math.max(0, math.min(oldest, now - max_age)) or 0)
end
