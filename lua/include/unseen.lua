-- What a member, or a device, has not got of a room's history although it was told of it: `#history more` shows that. The
-- field more:WHO of the room's hash has pairs of positions, from the first up to but without the second; `all` before
-- them: with the member's own messages. Needs what missed gives. Gives unseen, with_skipped, count_unseen, keep_unseen.
--- @include "positions"

local MAX_RANGES = 10 -- absences that are remembered

-- The ranges as {from, behind}, oldest first, and whether they are with the member's own messages.
local function unseen(room, who)
    local found, value = {}, redis.call("HGET", room, "more:" .. who) or ""
    for from, behind_it in value:gmatch("(%d+%-%d+) (%d+%-%d+)") do
        found[#found + 1] = { from, behind_it }
    end
    return found, value:sub(1, 4) == "all "
end

-- The ranges with one more, of the latest absence. A catch-up that failed begins again where it began before: earlier
-- ranges end there.
local function with_skipped(ranges, from, behind_it)
    local found = {}
    for _, range in ipairs(ranges) do
        local ending = is_before(from, range[2]) and from or range[2]
        if is_before(range[1], ending) then
            found[#found + 1] = { range[1], ending }
        end
    end
    found[#found + 1] = { from, behind_it }
    while #found > MAX_RANGES do
        table.remove(found, 1)
    end
    return found
end

local function count_unseen(history, ranges, user, now)
    local count = 0
    for _, range in ipairs(ranges) do
        for _, entry in ipairs(redis.call("XRANGE", history, range[1], "(" .. range[2])) do
            count = count + (is_for(user, entry[2], now) and 1 or 0)
        end
    end
    return count
end

-- After commit.
local function keep_unseen(room, who, ranges, with_own)
    local words = {}
    for _, range in ipairs(ranges) do
        words[#words + 1] = range[1] .. " " .. range[2]
    end
    if #words == 0 then
        redis.call("HDEL", room, "more:" .. who)
    else
        redis.call("HSET", room, "more:" .. who, (with_own and "all " or "") .. table.concat(words, " "))
    end
end
