-- The events whose reports wait for a worker: an edge has settled these events. Needs events. Gives reported_events.
local MAX_REPORTS = 1000

-- By id of the event, the dialogs of its reports, if any; and whether there may be more, because too many requests wait.
local function reported_events()
    local found, waiting = {}, redis.pcall("XRANGE", (events:gsub(":out$", ":in")), "-", "+", "COUNT", MAX_REPORTS)
    for _, entry in ipairs(waiting) do
        local of, dialog
        for i = 1, #entry[2], 2 do
            if entry[2][i] == "of" then
                of = entry[2][i + 1]
            elseif entry[2][i] == "dialog" then
                dialog = entry[2][i + 1]
            end
        end
        if of then
            found[of] = found[of] or {}
            table.insert(found[of], dialog)
        end
    end
    return found, #waiting == MAX_REPORTS
end
