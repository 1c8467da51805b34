-- Whether the room has a place for one more address. Needs members, max_members. Gives lack_of_place.
--- @include "without_port"
max_members = tonumber(max_members)

-- The reason why an address that is not in the room cannot come in; nil if it can. Invitations count, so that every
-- invited user can join.
local function lack_of_place(address)
    if max_members > 0 and redis.call("HLEN", members) >= max_members then
        return "room_full"
    end
    local user, count = without_port(address), 0
    if user == address then
        return nil -- without a port there is one such address
    end
    for _, member in ipairs(redis.call("HKEYS", members)) do
        if without_port(member) == user then
            count = count + 1
        end
    end
    return count >= MAX_PORTS and "too_many_devices" or nil
end
