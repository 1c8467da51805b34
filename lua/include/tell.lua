-- Tells users of an event. Needs what emit needs. Gives tell.

-- After commit. Each user in `concerned` is told alone, so that the notice says "you"; then the others together.
-- An operator is no user of the room and is not told. ... are further fields of the event. Returns the id of the first
-- notice, nil if nobody is told.
local function tell(event, concerned, others, ...)
    local is_told, rest, id = {}, {}, nil
    for _, address in ipairs(concerned) do
        local is_operator = request.operator == "1" and address == request.from
        if not is_operator and not is_told[address] then
            local told = emit(event, { address }, ...)
            id = id or told
            is_told[address] = true
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
