-- Nicknames: a field nick:USER of the room's hash for each member who has one. They end with the membership. Needs
-- room. Gives nicknames.

-- The nicknames by address.
local function nicknames()
    local found, all = {}, redis.call("HGETALL", room)
    for i = 1, #all, 2 do
        local address = all[i]:match("^nick:(.+)$")
        if address then
            found[address] = all[i + 1]
        end
    end
    return found
end
