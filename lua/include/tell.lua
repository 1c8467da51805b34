-- Tells users of an event. Needs members and what emit needs. Gives tell, and what role gives.
--- @include "role"

-- Users whose devices show the roster are not told in words what has changed in it, unless it answers what they typed.
local function sees_roster(address)
    if address == request.from then
        return request.dialog
    end
    local value = redis.call("HGET", members, address)
    return HERE[value] == "devices" or is_inviting(value)
end

-- After commit. Each user in `concerned` is told alone, so that the notice says "you"; then the others together.
-- An operator is no user of the room and is not told. ... are further fields of the event. Returns the id of the first
-- notice, nil if nobody is told.
local function tell(event, concerned, others, ...)
    local is_told, rest, id = {}, {}, nil
    for _, address in ipairs(concerned) do
        local is_operator = request.operator == "1" and address == request.from
        if not is_operator and not is_told[address] then
            is_told[address] = true
            if not sees_roster(address) then
                local told = emit(event, { address }, ...)
                id = id or told
            end
        end
    end
    for _, address in ipairs(others) do
        if not is_told[address] then
            rest[#rest + 1] = address
        end
    end
    local told = emit(event, rest, ...)
    return id or told
end
