-- The ids of the events whose reports wait for a worker: an edge has settled these events. Needs events. Gives reported_events.
local MAX_REPORTS = 1000

-- A set of ids; and whether there may be more, because too many requests wait.
local function reported_events()
    local found, waiting = {}, redis.pcall("XRANGE", (events:gsub(":out$", ":in")), "-", "+", "COUNT", MAX_REPORTS)
    for _, entry in ipairs(waiting) do
        for i = 1, #entry[2], 2 do
            if entry[2][i] == "of" then
                found[entry[2][i + 1]] = true
            end
        end
    end
    return found, #waiting == MAX_REPORTS
end
