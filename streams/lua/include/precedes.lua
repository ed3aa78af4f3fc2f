-- Say whether one entry id is less than another. As text they would compare wrongly.
local function precedes(a, b)
  local a_ms, a_counter = string.match(a, '(%d+)-(%d+)')
  local b_ms, b_counter = string.match(b, '(%d+)-(%d+)')
  if a_ms ~= b_ms then return tonumber(a_ms) < tonumber(b_ms) end
  return tonumber(a_counter) < tonumber(b_counter)
end
