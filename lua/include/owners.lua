-- Whether the same user also owns the room at another port. Needs what room needs. Gives owns_at_another_port.
--- @include "without_port"
local function owns_at_another_port(address)
    for _, owner in ipairs(with_role({ owner = true })) do
        if owner ~= address and without_port(owner) == without_port(address) then
            return true
        end
    end
    return false
end
