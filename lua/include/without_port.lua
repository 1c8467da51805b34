-- The address of a user without the port: the rooms that a user owns are counted for all ports together
-- (`keys.owned_rooms`). Gives without_port, MAX_PORTS.

-- A user may be in a room at so many ports, one for each device. Without this limit, one user could take all places.
local MAX_PORTS = 8

local function without_port(address)
    return (address:gsub(":%d+$", ""))
end
