-- Say whether all of these are arrays, as `send_in_chunks` needs them.
local function are_arrays(...)
  for i = 1, select('#', ...) do if type(select(i, ...)) ~= 'table' then return false end end
  return true
end

-- Send a command with any number of values after its fixed ones, in chunks: Lua's unpack ends at
-- about 8,000 values. Pairs of values stay together. No values, no command.
local function send_in_chunks(values, name, key, group)
  for i = 1, #values, 1000 do
    local last = math.min(i + 999, #values)
    if group then redis.call(name, key, group, unpack(values, i, last))
    else redis.call(name, key, unpack(values, i, last)) end
  end
end
