-- How far a stream was read, by whomever: its group's last-delivered-id; nil if there is no group. What lies
-- before that and is still there has been handed out and not been handled.
local function last_read(stream)
    if redis.call("EXISTS", stream) == 0 then
        return nil
    end
    for _, group in ipairs(redis.call("XINFO", "GROUPS", stream)) do
        local about = {}
        for i = 1, #group, 2 do
            about[group[i]] = group[i + 1]
        end
        if about.name == "imc" then
            return about["last-delivered-id"]
        end
    end
end
