-- How far a stream was read. Gives last_read.

-- Returns the last-delivered-id of the owner's consumer group, the group's name, and how many entries it has read,
-- if Redis knows; nil if there is no such group. Entries up to that id that still exist were read and not handled.
local function last_read(stream)
    if redis.call("EXISTS", stream) == 0 then
        return nil
    end
    for _, group in ipairs(redis.call("XINFO", "GROUPS", stream)) do
        local about = {}
        for i = 1, #group, 2 do
            about[group[i]] = group[i + 1]
        end
        if about.name:sub(1, 4) == "imc@" then
            return about["last-delivered-id"], about.name, about["entries-read"]
        end
    end
end
