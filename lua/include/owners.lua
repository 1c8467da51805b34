-- Whether the room has an owner who is this one, too, but for the port. Needs with_role, without_port. Gives
-- owns_otherwise.
local function owns_otherwise(address)
    for _, owner in ipairs(with_role({ owner = true })) do
        if owner ~= address and without_port(owner) == without_port(address) then
            return true
        end
    end
    return false
end
