-- The index of the rooms where a user is away, by user: so whatever shows that the user is back wakes up all its devices.
-- Gives away_room, room_and_who, and what device_name gives.
--- @include "device_name"

-- What is in the set away_rooms for this user, or this device of the user: the room, or room and device.
local function away_room(address, who)
    return is_device(who) and address .. " " .. who or address
end

-- The reverse: the room, and the user or the device.
local function room_and_who(entry, user)
    local address, device = entry:match("^(%S+) (%S+)$")
    return address or entry, device or user
end
