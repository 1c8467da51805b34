-- Positions: ids of the out-stream, which order the messages of all histories of the shard. Gives is_before, behind,
-- later_of.

local function is_before(a, b)
    local a_ms, a_n = a:match("^(%d+)-(%d+)$")
    local b_ms, b_n = b:match("^(%d+)-(%d+)$")
    a_ms, b_ms = tonumber(a_ms), tonumber(b_ms)
    return a_ms < b_ms or (a_ms == b_ms and tonumber(a_n) < tonumber(b_n))
end

-- The position of whatever follows this one.
local function behind(position)
    local ms, n = position:match("^(%d+)-(%d+)$")
    return string.format("%s-%d", ms, tonumber(n) + 1)
end

-- The later one of two; of those that there are.
local function later_of(a, b)
    return a and b and (is_before(a, b) and b or a) or a or b
end
