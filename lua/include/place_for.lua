-- How many devices of one user a room takes. Needs room, devices, and what role and device_name give. Gives place_for.
--- @include "positions"
--- @include "device_name"

-- Of one user in one room. Each costs a delivery for every message.
local MAX_DEVICES = 8

-- Whether the user has a place for this device; and if it takes the place of a device that has been away for longest, as of
-- a phone that is not used any more, its name.
local function place_for(device)
    local count, user, oldest, since = 0, user_of(device), nil, nil
    local all = redis.call("HGETALL", devices)
    for i = 1, #all, 2 do
        if all[i] == device then
            return true
        elseif user_of(all[i]) == user then
            count = count + 1
            local position = is_away(all[i + 1]) and redis.call("HGET", room, "away:" .. all[i])
            if position and (not since or is_before(position, since)) then
                oldest, since = all[i], position
            end
        end
    end
    if count >= MAX_DEVICES then
        return oldest ~= nil, oldest
    end
    return true
end
