-- The address of the same user at no port in particular: rooms that somebody owns are counted at all ports together
-- (`keys.owned_rooms`). Gives without_port.
local function without_port(address)
    return (address:gsub(":%d+$", ""))
end
