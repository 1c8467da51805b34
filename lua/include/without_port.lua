-- The address of a user without the port: the rooms that a user owns are counted for all ports together
-- (`keys.owned_rooms`). Gives without_port.
local function without_port(address)
    return (address:gsub(":%d+$", ""))
end
